"""What every page is made of: markup, one self-contained document, figures in two themes."""
