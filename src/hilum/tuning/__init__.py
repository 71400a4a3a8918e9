"""The search for a recipe: trainings whose settings an optimiser proposes, judged by robust validation."""
