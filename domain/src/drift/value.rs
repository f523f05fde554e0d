//! What one text value parses as.
