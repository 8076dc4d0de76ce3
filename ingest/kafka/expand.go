package kafka

// expands says whether a message may become more than its own bytes: objects fetched, a compressed Arrow batch.
func (d *decoder) expands(r *record) bool {
	if r.Value == nil {
		return false
	}
	schema := d.Schema
	if schema == SchemaAuto {
		schema = guess(r)
	}
	return schema != SchemaImage
}

var _ expander = (*decoder)(nil)
