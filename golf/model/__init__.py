"""The GPT of PR #1493."""
