# Writes the op table and the kernel table from the file names: ops/<family>/<op>.cpp defines
# op_def_<op>(), kernels/cpu/<op>.cpp defines kernel_<op>() per instruction set. An explicit table
# means that a linker can drop nothing, and that an op without its definition fails to link.

function(suan_names out)
  set(names)
  foreach(file IN LISTS ARGN)
    cmake_path(GET file STEM name)
    if(name IN_LIST names)
      message(FATAL_ERROR "two files define the op '${name}': ${file} is the second")
    endif()
    list(APPEND names ${name})
  endforeach()
  list(SORT names)
  set(${out} ${names} PARENT_SCOPE)
endfunction()

function(suan_write_tables out)
  file(GLOB op_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/ops/*/*.cpp)
  suan_names(ops ${op_files})
  set(declared)
  set(listed)
  foreach(op IN LISTS ops)
    string(APPEND declared "OpDef op_def_${op}();\n")
    string(APPEND listed "      op_def_${op},\n")
  endforeach()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/tables/op_table.cpp @ONLY CONTENT
"// Written by tools/cmake/tables.cmake from the names in ops/.
#include <vector>

#include \"core/op.h\"

namespace suan {
@declared@
const std::vector<OpDef (*)()>& op_definitions() {
  static const std::vector<OpDef (*)()> table = {
@listed@  };
  return table;
}
}  // namespace suan
")

  file(GLOB kernel_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cpu/*.cpp)
  list(FILTER kernel_files EXCLUDE REGEX "/scalar[^/]*$")
  suan_names(kernels ${kernel_files})
  set(sets avx2)
  if(SUAN_AVX512)
    list(APPEND sets avx512)
  endif()
  # The scalar rows share files and list themselves.
  set(rows OFF)
  if(EXISTS ${PROJECT_SOURCE_DIR}/kernels/cpu/scalar.cpp)
    set(rows ON)
  endif()
  set(declared)
  foreach(isa IN LISTS sets)
    string(APPEND declared "namespace cpu::${isa} {\n")
    set(listed_${isa})
    if(rows)
      string(APPEND declared "std::vector<std::pair<const char*, Kernel>> scalar_kernels();\n")
      string(APPEND listed_${isa} "    table = cpu::${isa}::scalar_kernels();\n")
    endif()
    foreach(kernel IN LISTS kernels)
      string(APPEND declared "Kernel kernel_${kernel}();\n")
      string(APPEND listed_${isa}
        "    table.emplace_back(\"${kernel}\", cpu::${isa}::kernel_${kernel}());\n")
    endforeach()
    string(APPEND declared "}\n")
  endforeach()
  if(SUAN_AVX512)
    set(has_avx512 true)
  else()
    set(has_avx512 false)
  endif()
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/tables/kernel_table.cpp @ONLY CONTENT
"// Written by tools/cmake/tables.cmake from the names in kernels/cpu/.
#include <utility>
#include <vector>

#include \"core/op.h\"

namespace suan {
@declared@
// Whether this build holds AVX-512 kernels at all; whether the CPU runs them is another question.
bool cpu_kernels_built_avx512() { return @has_avx512@; }

std::vector<std::pair<const char*, Kernel>> cpu_kernels([[maybe_unused]] bool avx512) {
  std::vector<std::pair<const char*, Kernel>> table;
  if (avx512 && cpu_kernels_built_avx512()) {
@listed_avx512@  } else {
@listed_avx2@  }
  return table;
}
}  // namespace suan
")
  set(${out} ${CMAKE_BINARY_DIR}/tables/op_table.cpp ${CMAKE_BINARY_DIR}/tables/kernel_table.cpp
    PARENT_SCOPE)
endfunction()
