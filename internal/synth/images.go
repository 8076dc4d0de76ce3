package synth

import (
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // the formats that a folder may hold
	_ "image/png"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Images are the labelled images that a stream shows. Its methods may be called concurrently.
type Images interface {
	Len() int
	Classes() []string
	Class(i int) int
	// Image returns image i in its own size.
	Image(i int) (image.Image, error)
}

// Glyphs are the drawn images of a set as Images.
type Glyphs struct{ Options }

var (
	_ Images = Glyphs{}
	_ Images = (*Folder)(nil)
)

// Len returns the number of images.
func (g Glyphs) Len() int { return g.Images }

// Classes returns the names of the classes.
func (g Glyphs) Classes() []string { return ClassNames(g.Options.Classes) }

// Class returns the class of image i.
func (g Glyphs) Class(i int) int { return i % g.Options.Classes }

// Image draws image i.
func (g Glyphs) Image(i int) (image.Image, error) {
	img, _ := Image(g.Options, i)
	return img, nil
}

// Folder is a folder with a sub-folder a class, whose images are read when they are shown.
type Folder struct {
	root    string
	classes []string
	files   []string // below root, sorted
	class   []int    // of each file
}

// OpenFolder lists the JPEG and PNG files below root. A class is a top-level folder; they are numbered by name.
func OpenFolder(root string) (*Folder, error) {
	f := &Folder{root: root}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !isPicture(path) {
			return err
		}
		name, err := filepath.Rel(root, path)
		f.files = append(f.files, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return f, f.label()
}

func isPicture(path string) bool {
	return slices.Contains([]string{".jpg", ".jpeg", ".png"}, strings.ToLower(filepath.Ext(path)))
}

func (f *Folder) label() error {
	if len(f.files) == 0 {
		return fmt.Errorf("%s holds no .jpg or .png; name a folder with a sub-folder a class", f.root)
	}
	for _, name := range f.files {
		class, _, below := strings.Cut(name, "/")
		if !below {
			return fmt.Errorf("%s: %s lies in no class's folder; name a folder with a sub-folder a class", f.root, name)
		}
		f.classes = append(f.classes, class)
	}
	slices.Sort(f.classes)
	f.classes = slices.Compact(f.classes)
	slices.Sort(f.files)
	for _, name := range f.files {
		class, _, _ := strings.Cut(name, "/")
		number, _ := slices.BinarySearch(f.classes, class)
		f.class = append(f.class, number)
	}
	return nil
}

// Len returns the number of images.
func (f *Folder) Len() int { return len(f.files) }

// Classes returns the names of the classes, sorted.
func (f *Folder) Classes() []string { return f.classes }

// Class returns the class of image i.
func (f *Folder) Class(i int) int { return f.class[i] }

// Image reads image i.
func (f *Folder) Image(i int) (image.Image, error) {
	r, err := os.Open(filepath.Join(f.root, filepath.FromSlash(f.files[i])))
	if err != nil {
		return nil, err
	}
	img, _, err := image.Decode(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.files[i], err)
	}
	return img, nil
}
