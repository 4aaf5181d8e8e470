"""The paper: its record, key terms and citations."""
