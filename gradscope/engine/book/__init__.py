"""What is known of a training, whoever drives it: where it stands, what each phase has shown, what every step was.

Nothing in here runs the user's code or knows of a recipe; who drives is asked for facts (`driver.Driver`).
"""
