package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// readLines gives the lines of a .jsonl or .jsonl.gz file, without their ends.
func readLines(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var source io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if source, err = gzip.NewReader(file); err != nil {
			return nil, err
		}
	}
	var lines [][]byte
	buffered := bufio.NewReader(source)
	for {
		line, err := buffered.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
	}
}

// writeLines replaces a file at once; the same lines give the same bytes.
func writeLines(path string, lines [][]byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(fill(file, strings.HasSuffix(path, ".gz"), lines), file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

func fill(file io.Writer, zipped bool, lines [][]byte) error {
	buffered := bufio.NewWriter(file)
	var target io.Writer = buffered
	var zipper *gzip.Writer
	if zipped {
		var err error
		if zipper, err = gzip.NewWriterLevel(buffered, gzip.BestCompression); err != nil {
			return err
		}
		target = zipper
	}
	for _, line := range lines {
		if _, err := target.Write(append(line[:len(line):len(line)], '\n')); err != nil {
			return err
		}
	}
	if zipper != nil {
		if err := zipper.Close(); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// object is a JSON object with its fields in the order they are written in.
type object []field

type field struct {
	name  string
	value json.RawMessage
}

func parseObject(line []byte) (object, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	if begin, err := decoder.Token(); err != nil {
		return nil, err
	} else if begin != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %v, not with an object", begin)
	}
	var fields object
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		fields = append(fields, field{name.(string), value})
	}
	_, err := decoder.Token()
	return fields, err
}

// get is the value of a field, nil if it is not there.
func (o object) get(name string) json.RawMessage {
	for _, field := range o {
		if field.name == name {
			return field.value
		}
	}
	return nil
}

// with is the object, as a line, with a field replaced, or added at its end.
func (o object) with(name string, value json.RawMessage) []byte {
	var line bytes.Buffer
	write := func(name string, value json.RawMessage) {
		if line.Len() > 0 {
			line.WriteByte(',')
		} else {
			line.WriteByte('{')
		}
		quoted, _ := json.Marshal(name) // a string always can be
		line.Write(quoted)
		line.WriteByte(':')
		line.Write(value)
	}
	for _, field := range o {
		if field.name != name {
			write(field.name, field.value)
		} else {
			write(name, value)
		}
	}
	if o.get(name) == nil {
		write(name, value)
	}
	line.WriteByte('}')
	return line.Bytes()
}
