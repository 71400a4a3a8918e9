"""The results page: what evaluations of one or several runs found, put side by side."""
