"""From files to verdicts: faces, scores, and copies that show where and when."""
