"""Everything that knows where on Earth a pixel lies; torch is never imported here."""
