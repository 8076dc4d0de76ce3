package objects

// SendInParts has objects above a size go in parts of it, both in bytes.
func (c *Client) SendInParts(above int64) { c.multipartAbove, c.leastPart = above, above }

// SetPace has Stream look every so many bytes whether the client gets enough bytes per second.
func (c *Client) SetPace(look int64, enough float64) {
	c.pace = newPace()
	c.pace.look, c.pace.enough = look, enough
}

var (
	ContentRange = contentRange
	NewNVMe      = newNVMe
)

// Redact takes out secrets as errors do.
func (c *Client) Redact(text string) string { return c.creds.redact(text) }
