"""`storycast bench policies`: batch policies in worlds that are drawn by seed, against an oracle that knows them."""
