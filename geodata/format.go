package geodata

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"perto"
)

// The compiled format, described in docs/formats/geodata.md. All fixed-width
// numbers are little endian.
//
//	magic | version | 0 | payload length | SHA-256 of the payload | payload
//	payload = sections: raw length | stored length | gzip data
const (
	magic         = "PERTOGEO"
	formatVersion = 1
	headerBytes   = 8 + 2 + 2 + 4 + sha256.Size
	// maxRawBytes bounds a section after decompression: ranges for all 2^24
	// IPv4 /24s would take 64 MiB.
	maxRawBytes = 128 << 20
	// maxDeflateRatio is the highest expansion of deflate (zlib's technical notes). A
	// section that claims more is damaged.
	maxDeflateRatio = 1032
)

// The sections, in their order in a file.
const (
	sectionInfo = iota
	sectionPlaces
	section4
	section6
	sectionExceptions
	numSections
)

var errDamaged = errors.New("the file is damaged")

// Write writes the map in its compiled form, for [Read] and [Open]. It rounds
// coordinates to 0.00001 degrees.
func (m *Map) Write(w io.Writer) error {
	info, err := json.Marshal(m.info)
	if err != nil {
		return err
	}
	raw := [numSections][]byte{
		sectionInfo:       info,
		sectionPlaces:     encodePlaces(m.places),
		section4:          encodeRanges4(m.Ranges4()),
		section6:          encodeRanges6(m.Ranges6()),
		sectionExceptions: encodeExceptions(m.exceptions),
	}
	var payload bytes.Buffer
	for _, r := range raw {
		var packed bytes.Buffer
		zw, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := zw.Write(r); err != nil {
			return err
		}
		if err := zw.Close(); err != nil {
			return err
		}
		var lengths [8]byte
		binary.LittleEndian.PutUint32(lengths[:4], uint32(len(r)))
		binary.LittleEndian.PutUint32(lengths[4:], uint32(packed.Len()))
		payload.Write(lengths[:])
		payload.Write(packed.Bytes())
	}
	sum := sha256.Sum256(payload.Bytes())
	head := append([]byte(magic), formatVersion, 0, 0, 0)
	head = binary.LittleEndian.AppendUint32(head, uint32(payload.Len()))
	if _, err := w.Write(append(head, sum[:]...)); err != nil {
		return err
	}
	_, err = w.Write(payload.Bytes())
	return err
}

// readCompiled reads a compiled map. Damaged, truncated and foreign data is an error of
// KindInvalid with a hint. The checksum detects accidental damage. Limits on every
// number bound the memory that hostile data can use.
func readCompiled(data []byte) (*Map, error) {
	payload, err := checkHeader(data)
	if err != nil {
		return nil, err
	}
	m, err := readPayload(payload)
	if err != nil {
		return nil, invalid(err, "the checksum is right, so it was written wrongly: compile it again with `perto geodata build`")
	}
	return m, nil
}

func invalid(err error, hint string) error {
	return &perto.Error{Op: "read geodata", Kind: perto.KindInvalid, Err: err, Hint: hint}
}

func checkHeader(data []byte) (payload []byte, err error) {
	const again = "copy or compile it again"
	switch {
	case len(data) == 0:
		return nil, invalid(errors.New("the file is empty"), again)
	case !bytes.HasPrefix(data, []byte(magic)[:min(len(magic), len(data))]):
		return nil, invalid(errors.New("neither an MMDB nor a compiled map"), "give a city database (.mmdb) or a file made by `perto geodata build`")
	case len(data) < headerBytes:
		return nil, invalid(errors.New("the file is truncated"), again)
	}
	if v := binary.LittleEndian.Uint16(data[8:]); v != formatVersion {
		return nil, invalid(fmt.Errorf("format version %d, this perto reads %d", v, formatVersion), "compile it again with `perto geodata build`")
	}
	payload = data[headerBytes:]
	want := int64(binary.LittleEndian.Uint32(data[12:]))
	switch {
	case int64(len(payload)) < want:
		return nil, invalid(fmt.Errorf("the file is truncated: %d of %d bytes", len(payload), want), again)
	case int64(len(payload)) > want:
		return nil, invalid(fmt.Errorf("%d bytes after the end", int64(len(payload))-want), again)
	case sha256.Sum256(payload) != [sha256.Size]byte(data[16:headerBytes]):
		return nil, invalid(fmt.Errorf("%w: wrong checksum", errDamaged), again)
	}
	return payload, nil
}

// readPayload splits the payload into sections. It unpacks the two large ones in
// parallel, because this is most of the start time.
func readPayload(payload []byte) (*Map, error) {
	var packed [numSections][]byte
	var rawBytes [numSections]int
	for i := range packed {
		if len(payload) < 8 {
			return nil, fmt.Errorf("%w: section %d is missing", errDamaged, i)
		}
		raw, stored := int64(binary.LittleEndian.Uint32(payload)), int64(binary.LittleEndian.Uint32(payload[4:]))
		payload = payload[8:]
		if stored > int64(len(payload)) || raw > maxRawBytes || raw > maxDeflateRatio*stored {
			return nil, fmt.Errorf("%w: section %d has impossible lengths", errDamaged, i)
		}
		packed[i], rawBytes[i], payload = payload[:stored], int(raw), payload[stored:]
	}
	if len(payload) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the last section", errDamaged, len(payload))
	}
	var info Info
	raw, err := unpack(packed[sectionInfo], rawBytes[sectionInfo])
	if err == nil {
		err = json.Unmarshal(raw, &info)
	}
	if err != nil {
		return nil, err
	}
	if raw, err = unpack(packed[sectionPlaces], rawBytes[sectionPlaces]); err != nil {
		return nil, err
	}
	places, err := decodePlaces(raw)
	if err != nil {
		return nil, err
	}
	m := &Map{info: info, places: places}
	six := make(chan error, 1)
	go func() {
		raw, err := unpack(packed[section6], rawBytes[section6])
		if err == nil {
			m.v6, err = decodeTable6(raw, len(places))
		}
		six <- err
	}()
	if raw, err = unpack(packed[section4], rawBytes[section4]); err == nil {
		m.v4, err = decodeTable4(raw, len(places))
	}
	if err := errors.Join(err, <-six); err != nil {
		return nil, err
	}
	if raw, err = unpack(packed[sectionExceptions], rawBytes[sectionExceptions]); err != nil {
		return nil, err
	}
	exceptions, err := decodeExceptions(raw, len(places))
	if err != nil {
		return nil, err
	}
	m.setExceptions(exceptions)
	return m, nil
}

// unpack returns the rawBytes bytes of a section.
func unpack(packed []byte, rawBytes int) ([]byte, error) {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	raw := make([]byte, rawBytes)
	if _, err := io.ReadFull(zr, raw); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if n, err := zr.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("%w: a section is longer than it says", errDamaged)
	}
	return raw, nil
}
