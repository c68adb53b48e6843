"""The networks in float, and their losses: what is trained."""
