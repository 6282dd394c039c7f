"""The search behind `fdht explore`: its space, its studies, and its picture."""
