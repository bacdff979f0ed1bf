"""Figures and the page of an analysis."""
