"""Where endorsements come from: files, a store, bundles, the vendors' services. Only signatures are trusted."""
