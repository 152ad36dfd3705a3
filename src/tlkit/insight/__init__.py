"""Why a classifier decides as it does, and which images to look at.

In: a classifier and images. Out: heat maps, nearest training images, doubtful labels.

Files in reading order: `explain` (Grad-CAM), `neighbours`, `label_issues`.
"""
