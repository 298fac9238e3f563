"""What the adaptive policy is made of: what it believes, how it learns, and how it chooses."""
