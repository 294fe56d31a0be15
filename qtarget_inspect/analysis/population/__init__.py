"""What a loss teaches a population of labels: the flow of its expected gradient at one context, and where it rests."""
