"""Pictures and fidelities: a fidelity maps an image to an integer tensor, which the VLAE coder codes, and back."""
