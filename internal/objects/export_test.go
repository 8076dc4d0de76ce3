package objects

// SendInParts has objects above a size go in parts of it, both in bytes.
func (c *Client) SendInParts(above int64) { c.multipartAbove, c.leastPart = above, above }

var (
	ContentRange = contentRange
	NewNVMe      = newNVMe
)

// Redact takes out secrets as errors do.
func (c *Client) Redact(text string) string { return c.creds.redact(text) }
