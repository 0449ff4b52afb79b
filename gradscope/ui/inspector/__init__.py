"""The parts of the inspector: header, numbers, histogram, picture and values of the selected subject."""
