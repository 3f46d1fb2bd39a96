"""What `swag-ray init` does: looks at folders or a table, and writes a config with what it guessed and why.

It looks at names, and at bytes only where the images are few. It asks nothing: what cannot be guessed is one line with
the choices. Start at `write`; `plan` says what a guess is. Imports `images`, `config` and `system/files`.
"""
