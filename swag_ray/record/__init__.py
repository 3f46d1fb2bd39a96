"""What a run or sweep leaves on disk, and how it is written: whole or not there. Of the other rooms it
imports `store`, `config` and `system`."""
