"""Training: patches of a cohort degraded on the fly, objectives, and a loop that resumes exactly."""
