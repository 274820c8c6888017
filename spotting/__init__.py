"""What an encoder is for: enrol words from a few clips, find them in recordings and at the microphone, export."""
