"""What one fold's model is and how it scores a batch: plain functions that run in a sample actor or in this process."""
