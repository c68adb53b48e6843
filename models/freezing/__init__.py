"""From float networks to the integer models that `codec` executes, and back."""
