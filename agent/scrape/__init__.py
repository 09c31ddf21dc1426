"""Scraping: fetch a page, keep what was encoded of it, give on what a scrape sends."""
