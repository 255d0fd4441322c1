"""What should be trained on these files, and why?"""
