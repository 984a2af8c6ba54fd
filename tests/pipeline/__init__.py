"""Parts together: fits, trainings and their folders."""
