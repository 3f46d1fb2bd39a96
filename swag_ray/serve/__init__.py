"""`swag-ray serve`: a detector behind HTTP. Start at `serve`; `app` meets a request, `answer` is a replica's part."""
