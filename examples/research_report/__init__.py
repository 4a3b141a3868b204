"""The research report: documents in a folder, a question, three analysts, a person who decides, a published report."""
