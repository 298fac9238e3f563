"""What joins the stages to the transports."""
