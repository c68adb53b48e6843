"""One frozen model: what it codes, what it sees, its networks p(x|z), p(z) and q(z|x), and its weights."""
