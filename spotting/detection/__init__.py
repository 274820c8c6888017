"""Misses against false alarms an hour: thresholds that keep a rate, their intervals, the table, the curve."""
