package config

import (
	"bytes"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxFileBytes limits a configuration file: a thousand edges take about 200 KiB.
const maxFileBytes = 4 << 20

// maxDepth limits how deep brackets nest. HCL's parser is recursive, so deep nesting
// would exhaust the stack.
const maxDepth = 32

// dataOnly checks a file before the parser reads it: it is not too large, not nested
// too deep, and computes nothing.
func (p *parser) dataOnly(src []byte, filename string, isJSON bool) bool {
	at := hcl.Range{Filename: filename, Start: hcl.InitialPos, End: hcl.InitialPos}
	if len(src) > maxFileBytes {
		p.fail(at, "the file has %d bytes; the limit is %d", len(src), maxFileBytes)
		return false
	}
	if isJSON {
		if depthOfJSON(src) > maxDepth {
			p.fail(at, "brackets nest deeper than %d", maxDepth)
			return false
		}
		return true
	}
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // the parser reports lexical mistakes
	depth := 0
	for i, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack:
			if depth++; depth > maxDepth {
				p.fail(t.Range, "brackets nest deeper than %d", maxDepth)
				return false
			}
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack:
			depth--
		case hclsyntax.TokenMinus:
			if i+1 == len(tokens) || tokens[i+1].Type != hclsyntax.TokenNumberLit {
				p.fail(t.Range, "%q: the file is data; expressions are not allowed", t.Bytes)
				return false
			}
		case hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl, hclsyntax.TokenQuestion,
			hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenPercent, hclsyntax.TokenBang,
			hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
			hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenEllipsis:
			p.fail(t.Range, "%q: the file is data; expressions are not allowed", bytes.TrimSpace(t.Bytes))
			return false
		default: // names, literals and their separators
		}
	}
	return true
}

// depthOfJSON returns how deep brackets nest outside of strings.
func depthOfJSON(src []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(src); i++ {
		switch b := src[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case !quoted && (b == '{' || b == '['):
			depth++
			deepest = max(deepest, depth)
		case !quoted && (b == '}' || b == ']'):
			depth--
		}
	}
	return deepest
}
