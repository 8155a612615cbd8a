// A program whose sizes stay open. A model with named dimensions would otherwise be recorded and optimised anew
// for every size. It is made a few times at small prime sizes instead; where these samples differ in nothing but
// integers, and one formula explains each of these, the formulas give the program at any other sizes.
//
// The maker promises that (1) every integer in a sample is a polynomial of the sizes, or one divided by a constant and
// rounded, and (2) nothing else about a sample depends on a size, unless two sizes are always equal, a size is 0 or
// 1, or the comparison was noted in Sample::compared. A formula has integer factors only, so a quotient that is
// rounded to different sides at different sizes has none. The engine's passes keep (2): whether they may rewrite
// depends on equal shapes only, which tests/graph_test.cpp tries on thousands of random graphs.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "core/graph.h"

namespace suan {

class OpenProgram {
 public:
  struct Sample {
    std::vector<int64_t> sizes;                         // of the open dimensions
    Graph graph;
    std::vector<std::pair<int64_t, int64_t>> compared;  // numbers a < b, or not, that decided something
  };
  static constexpr int n_samples = 4;
  static constexpr int most_sizes = 4;
  static std::vector<int64_t> sample_sizes(int sample, int n_sizes);

  // Null where the samples are different programs, or a number has no formula or more than one.
  static std::unique_ptr<OpenProgram> from(std::vector<Sample> samples);

  // The program at these sizes, each above 1. Nothing where a comparison turns out otherwise there, or where a
  // dimension becomes 0 or 1: such programs differ.
  std::optional<Graph> at(std::span<const int64_t> sizes) const;

 private:
  // scale * product of sizes[i]^power[i] + shift
  struct Formula {
    int64_t scale = 0, shift = 0;
    std::array<int8_t, most_sizes> power{};
    bool dim = false;                 // of some value
    std::optional<int64_t> at(std::span<const int64_t> sizes) const;   // nothing where it does not fit
  };
  struct Integer {
    int32_t at, position, formula;    // value and dimension; node and element of an attribute
  };
  // A sample with its open integers, graphs inside attributes likewise.
  struct Open {
    Graph graph;
    std::vector<Integer> dims;
    struct InAttr {
      int32_t node, attr;
      std::vector<Integer> integers;
      std::unique_ptr<Open> inner;
    };
    std::vector<InAttr> attrs;
    Graph at(std::span<const int64_t> numbers) const;
  };
  struct Comparison {
    int a, b;
    bool less;
  };
  class Finder;

  Open open_;
  std::vector<Formula> formulas_;
  std::vector<Comparison> compared_;
};

}  // namespace suan
