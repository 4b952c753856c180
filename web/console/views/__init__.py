"""What each page shows, made from frozen values alone: no request, no clock, no database."""
