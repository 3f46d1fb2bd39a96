"""What a run or sweep leaves on disk, and how it is written: whole or not there. Imports only `store`, `config`
and `system`."""
