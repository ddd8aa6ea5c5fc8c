"""Everything that learns; rasterio and geopandas are never imported here."""
