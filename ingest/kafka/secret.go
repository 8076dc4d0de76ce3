package kafka

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// secretLimit is the longest secret in bytes that a file may hold.
const secretLimit = 64 << 10

// hidden is what a Secret shows of itself.
const hidden = "***"

// Secret is a password or key, or where one lies: "file:PATH" names a file that is read each time the secret is needed,
// so that it may be changed while the program runs. However it is printed or marshalled it shows "***"; the zero value
// is no secret.
type Secret struct{ text string }

// NewSecret makes a Secret of a value or of file:PATH.
func NewSecret(text string) Secret { return Secret{text} }

// IsZero says whether there is none.
func (s Secret) IsZero() bool { return s.text == "" }

// Read returns the secret itself; of a file its content without the line end. Errors name the file, never the content.
func (s Secret) Read() (string, error) {
	path, ok := strings.CutPrefix(s.text, "file:")
	if !ok {
		return s.text, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, secretLimit+1))
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	switch {
	case err != nil:
		return "", fmt.Errorf("read secret: %w", err)
	case len(content) > secretLimit:
		return "", fmt.Errorf("read secret %s: longer than %d bytes", path, secretLimit)
	case text == "":
		return "", fmt.Errorf("read secret %s: %w", path, errEmptySecret)
	}
	return text, nil
}

var errEmptySecret = errors.New("the file is empty")

// String returns "***".
func (Secret) String() string { return hidden }

// GoString returns "***", for %#v.
func (Secret) GoString() string { return hidden }

// Format prints "***" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText returns "***", for JSON, YAML and map keys.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON returns "***" as a string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
