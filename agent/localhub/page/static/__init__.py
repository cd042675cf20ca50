"""The page as the browser gets it: plain files that hold nothing secret."""
