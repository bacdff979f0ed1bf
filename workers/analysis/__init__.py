"""Looking at attention: pictures of maps that are never formed."""
