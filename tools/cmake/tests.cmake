# The C++ tests, one GoogleTest executable; and the benchmarks of tools/bench, one program a file,
# built only when asked for (target `benches`).

file(GLOB suan_test_sources CONFIGURE_DEPENDS tests/*.cpp)
if(NOT SUAN_AVX512)
  list(FILTER suan_test_sources EXCLUDE REGEX "/lib_kernels_avx512_test.cpp$")
endif()
if(suan_test_sources)
  enable_testing()
  find_package(GTest REQUIRED)
  add_executable(suan_tests ${suan_test_sources})
  target_link_libraries(suan_tests PRIVATE suan_flags suan suan_onnx GTest::gtest_main)
  target_compile_definitions(suan_tests PRIVATE SUAN_AVX512=$<BOOL:${SUAN_AVX512}>)
  if(TARGET suan_emulation_faults)
    add_dependencies(suan_tests suan_emulation_faults)
    target_compile_definitions(suan_tests PRIVATE
      SUAN_FAULTS_LIBRARY="$<TARGET_FILE:suan_emulation_faults>")
  endif()
  add_test(NAME suan_tests COMMAND suan_tests)
  add_executable(onnx_run_model frontends/onnx/examples/run_model.cpp)
  target_link_libraries(onnx_run_model PRIVATE suan_flags suan_onnx)
endif()

file(GLOB suan_bench_sources CONFIGURE_DEPENDS tools/bench/*.cpp)
# oneDNN is a peer to measure against, with its own threads; the library does not link it.
find_package(dnnl 2.6 REQUIRED CONFIG)
find_package(OpenMP REQUIRED)
add_custom_target(benches)
foreach(source IN LISTS suan_bench_sources)
  cmake_path(GET source STEM name)
  add_executable(${name} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${name} PRIVATE suan_flags suan DNNL::dnnl OpenMP::OpenMP_CXX)
  add_dependencies(benches ${name})
endforeach()
