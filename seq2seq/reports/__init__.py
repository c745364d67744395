"""What several runs tell beside each other: tables, tests of significance, a page."""
