"""Images of 16 bits a sample or of inks, as files of 8 bits a sample and low bits beside them."""
