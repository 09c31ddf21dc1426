"""Cases of other systems' test suites, kept outside the project as data."""
