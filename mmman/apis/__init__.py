"""What a user calls: reading configs, starting runs, publishing and exporting what was trained."""
